"""What turns a patch into a unit vector, a masked autoencoder or a descriptor without weights, and the self-test that either
must pass before it may select."""
