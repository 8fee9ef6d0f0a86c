from .application import nothing_of_this_name

app = nothing_of_this_name()
