"""Who and where: regions, calendars, users, medical institutions, physicians, API clients."""
