"""Array algorithms: numpy and scipy only, no paths, no torch, random generators passed in."""
