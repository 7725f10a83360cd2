"""The demo: a simulated microscope and expert around the real daemon. They know folders only, like the people they stand for."""
