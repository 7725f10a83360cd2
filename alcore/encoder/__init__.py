"""The masked autoencoder that turns a patch into a unit vector, and the self-test that it must pass before it may select."""
