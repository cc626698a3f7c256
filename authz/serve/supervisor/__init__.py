"""Several worker processes behind one command: started, watched, restarted, told to end, and shown as one.

Law: this process judges nothing and never imports gRPC; what is imported here is not shared with the workers either,
which are fresh interpreters, never forks. Everything between the processes goes through one folder that only our user
may enter, and through one inherited socket per worker (the lifeline) whose end is how each learns of the other's.
"""
