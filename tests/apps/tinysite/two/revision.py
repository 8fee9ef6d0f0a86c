REVISION = "two"
