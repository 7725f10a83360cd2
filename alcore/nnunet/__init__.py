"""nnU-Net driven in process: plan, preprocess, train and predict, without pools and without console output."""
