REVISION = "broken-500"
VERSION = "1.3"
