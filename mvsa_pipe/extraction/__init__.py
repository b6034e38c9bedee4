"""Stage one: posts → frozen backbone → cache, once."""
