"""The service around the science: config, store, watcher, engine, executors, and what people look at."""
