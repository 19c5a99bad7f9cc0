"""A voice pack: the fixed phrases of a service as sound files, checked by a recogniser and by people."""
