raise RuntimeError("this revision cannot be imported")
