"""Ten thousand databases: made at once instead of one by one, and a real process that looks after them."""
