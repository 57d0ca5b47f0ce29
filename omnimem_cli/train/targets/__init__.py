"""What nano's training asks of each token in addition to the text: labels, and the heads that read them."""
