"""An agent of a system call filter: argument 1 is the path of its socket, 2 the error that every call gets.

Prints a line when it listens, a line of JSON for each container process state that arrives (with the descriptors that came
with it), and one for each notification. Runs until it is killed.
"""
import errno
import fcntl
import json
import os
import select
import socket
import struct
import sys

NOTIF_RECV, NOTIF_SEND = 0xC0502100, 0xC0182101  # linux/seccomp.h


def say(value):
    print(json.dumps(value), flush=True)


def document(text):
    try:
        return json.loads(text)
    except ValueError:
        return None


server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
# A socket's address holds 107 bytes.
os.chdir(os.path.dirname(sys.argv[1]))
server.bind(os.path.basename(sys.argv[1]))
server.listen()
poll = select.poll()
poll.register(server, select.POLLIN)
print("listening", flush=True)
while True:
    for fd, events in poll.poll():
        if fd == server.fileno():
            connection, _ = server.accept()
            text, fds, _, _ = socket.recv_fds(connection, 1 << 16, 8)
            # runc leaves the connection open: the message's end is the document's.
            while (message := document(text)) is None and (more := connection.recv(1 << 16)):
                text += more
            # Descriptors that are no listeners are told all the same.
            say({"message": message, "descriptors": [os.readlink(f"/proc/self/fd/{got}") for got in fds]})
            for got in fds:
                poll.register(got, select.POLLIN)
        elif events & select.POLLIN:
            notification = bytearray(80)
            try:
                fcntl.ioctl(fd, NOTIF_RECV, notification)
            except OSError as error:
                if error.errno == errno.ENOENT:
                    continue  # The caller was killed meanwhile.
                raise
            id, pid, _, number, arch = struct.unpack_from("QIIiI", notification)
            say({"number": number, "arch": arch})
            fcntl.ioctl(fd, NOTIF_SEND, bytearray(struct.pack("QqiI", id, 0, -int(sys.argv[2]), 0)))
        else:
            poll.unregister(fd)  # Nobody is left under the filter.
            os.close(fd)
