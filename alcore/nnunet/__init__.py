"""nnU-Net driven in process: plan, preprocess, pre-train, fine-tune and predict, without pools and without its console."""
