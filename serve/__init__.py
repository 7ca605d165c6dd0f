"""`vreid serve`: pages and a REST API over a gallery, next to a run or with one."""
