"""`crossmargin bench`: what a worker does on this machine and this cluster. A user of the product, as the demo."""
