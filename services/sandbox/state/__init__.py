"""All that there is: the store of objects, and the logical clusters that they live in."""
