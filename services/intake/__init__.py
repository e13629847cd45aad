"""The intake worker: takes requests that people publish on the bus to the hub, as those who publish them."""
