"""Speed beside other runtimes: the operators and whole networks, interleaved in one run."""
