"""The insured register: dated entitlement, extracts to import, comparison with the insurer's list.

Every write goes through `store.write`, one person or ten thousand: the spans that change are
superseded, never overwritten, and each person has an event.
"""
