def home(request):
    raise RuntimeError("this revision is broken on purpose")
