def home():
    raise RuntimeError("this revision is broken on purpose")
