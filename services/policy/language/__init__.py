"""The language of rules: their syntax, the variables that they read, what is wrong with an expression."""
