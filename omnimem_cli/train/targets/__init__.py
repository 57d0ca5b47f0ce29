"""What nano's training asks of each token beside the text: labels, and the heads that read them."""
