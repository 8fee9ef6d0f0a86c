REVISION = "broken-import"
VERSION = "1.2"
