from djangosite.revision import REVISION


def say_revision(get_response):
    """Every answer says which revision gave it."""

    def middleware(request):
        response = get_response(request)
        response["X-Revision"] = REVISION
        return response

    return middleware
