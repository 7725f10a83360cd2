"""From the database to the report: what its page says, when it is written, and where people find it."""
