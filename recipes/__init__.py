"""What is declared: recipes in YAML, their schema, and the rows that cross between stages."""
