"""Pages of claims and money: thin views that parse, make one call and answer."""
