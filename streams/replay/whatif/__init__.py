"""What other parameters would have done: the recorded journal, folded beside itself under changed terms."""
