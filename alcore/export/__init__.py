"""Models that leave the tool: in the layout of plain nnU-Net, and as a package for bioimage.io."""
