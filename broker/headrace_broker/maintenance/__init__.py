"""What the owning broker does beside its work: duties that run now and then, each a class with `run_once`, in the shape of `loop`."""
