"""Import and export of the registry: sheets in, judged as a whole, written by the commands; sheets out."""
