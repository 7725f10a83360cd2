"""One file per product, each declaring STAGE and a thin run(); light to import, because the daemon reads them."""
