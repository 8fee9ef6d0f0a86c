REVISION = "one"
