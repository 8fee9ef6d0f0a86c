# written by fabrelease for flask-todo on web1; changes here are overwritten by the next deploy;
# override templates/systemd/job.sh.j2 in your project instead
# shellcheck shell=sh

# In a shell of its own: the one that reads this stays in the release until the job has ended, wherever the command
# goes and whatever it still does once its time is up, and by that it is known which releases are in use.
trap : TERM
(
flask clear-sessions
)
