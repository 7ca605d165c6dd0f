"""`vreid serve`: pages and a REST API over a gallery, beside a run or with one."""
