"""Who said what, under which consent: recordings enter here."""
