"""Many runs of one command: what each point is called, what came of it, and the table of all of them."""
