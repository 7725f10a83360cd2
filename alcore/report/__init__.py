"""The report: one page without a network, figures as files, and the numbers as CSV. Knows no database: it is given its content."""
