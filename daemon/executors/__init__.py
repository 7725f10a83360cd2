"""Where stages run: in this process (tests) or in worker processes (the service). Both pass one contract suite."""
