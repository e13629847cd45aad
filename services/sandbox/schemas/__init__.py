"""Kinds as data: schemas, validation rules, names, and the kinds that are built in."""
