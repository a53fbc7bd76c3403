#!/usr/bin/env python3
"""Reads an event log's folder or an export with nothing but docs/log-format.md: the proof that the page is enough.

    log_reader.py read FOLDER            every event, a line of JSON each, in order
    log_reader.py stream FOLDER NAME…    streams' events, one stream after the other, found through the stream index
    log_reader.py export FILE            every event of an export

Checks every checksum, length and order on the way, and stops with an error at the first thing that is not as the page says.
Only the standard library; blocks are decompressed by Python's own zstd (3.14 or later) or the `zstd` command.
"""

import hashlib
import json
import os
import re
import struct
import subprocess
import sys
import uuid

MASK = (1 << 64) - 1


class Damaged(Exception):
    """Bytes are not as docs/log-format.md says."""


def check(condition, where):
    if not condition:
        raise Damaged(where)


def crc_table():
    table = []
    for n in range(256):
        for _ in range(8):
            n = (n >> 1) ^ 0x82F63B78 if n & 1 else n >> 1
        table.append(n)
    return table


CRC_TABLE = crc_table()


def crc(*parts):
    value = 0xFFFFFFFF
    for part in parts:
        for byte in part:
            value = CRC_TABLE[(value ^ byte) & 0xFF] ^ (value >> 8)
    return value ^ 0xFFFFFFFF


def u32(data, at):
    return struct.unpack_from("<I", data, at)[0]


def u64(data, at):
    return struct.unpack_from("<Q", data, at)[0]


def decompress(frames, lengths):
    """The contents of several zstd frames."""
    try:
        from compression import zstd

        contents = [zstd.decompress(frame) for frame in frames]
    except ImportError:
        whole = subprocess.run(["zstd", "-dcq"], input=b"".join(frames), stdout=subprocess.PIPE, check=True).stdout
        contents, at = [], 0
        for length in lengths:
            contents.append(whole[at : at + length])
            at += length
        check(at == len(whole), "lengths of decompressed blocks")
    for content, length in zip(contents, lengths):
        check(len(content) == length, "length of a decompressed block")
    return contents


# Frames and records.


def frame_at(data, at):
    """Head and bytes of the valid frame that begins here, or None."""
    if at + 32 > len(data) or data[at + 28 : at + 32] != b"DBF1":
        return None
    length, checksum, first, durable, count = struct.unpack_from("<IIQQI", data, at)
    whole = (32 + length + 7) // 8 * 8
    frame = data[at : at + whole]
    if len(frame) < whole or first == 0 or crc(frame[:4], frame[8:]) != checksum:
        return None
    return {"first": first, "durable": durable, "count": count, "length": length, "bytes": frame}


def records(frame):
    data, at, end = frame["bytes"], 32, 32 + frame["length"]
    for n in range(frame["count"]):
        length, version, s, t, revision = struct.unpack_from("<IHBBQ", data, at)
        event_id = data[at + 16 : at + 32]
        recorded_at, d = struct.unpack_from("<qI", data, at + 32)
        names = at + 44
        check(names + s + t + d <= at + length <= end, f"lengths of the record at position {frame['first'] + n}")
        body = names + s + t
        yield {
            "position": frame["first"] + n,
            "stream": data[names : names + s].decode("ascii"),
            "revision": revision,
            "type": data[names + s : body].decode("ascii"),
            "version": version,
            "event_id": str(uuid.UUID(bytes=event_id)),
            "recorded_at": recorded_at,
            "data": data[body : body + d].hex(),
            "metadata": data[body + d : at + length].hex(),
        }
        at += length
    check(at == end, f"end of the frame at position {frame['first']}")


def frames_of(content, position, where):
    """The frames of a block or chunk, which follow each other from `position` on."""
    at = 0
    while at < len(content):
        frame = frame_at(content, at)
        check(frame and frame["first"] == position and frame["count"] > 0, f"{where}: frame at byte {at}")
        yield frame
        position += frame["count"]
        at += len(frame["bytes"])


# The folder.


class Log:
    def __init__(self, folder):
        self.folder = folder
        names = os.listdir(folder)
        self.id = self.identity()
        self.sealed = sorted(n for n in names if re.fullmatch(r"seg-\d{20}\.sealed", n))
        done = {n[:24] for n in self.sealed}
        self.unsealed = sorted(n for n in names if re.fullmatch(r"seg-\d{20}\.log", n) and n[:24] not in done)
        runs = [tuple(map(int, m.groups())) for n in names if (m := re.fullmatch(r"idx-(\d{20})-(\d{20})\.run", n))]
        inside = lambda run: any(o != run and o[0] <= run[0] and run[1] <= o[1] for o in runs)
        self.runs = sorted(run for run in runs if not inside(run))

    def file(self, name):
        with open(os.path.join(self.folder, name), "rb") as file:
            return file.read()

    def identity(self):
        line = self.file("LOG")
        match = re.fullmatch(rb"(daybook-event-log format=1 id=([0-9a-f]{32})) crc=([0-9a-f]{8})\n", line)
        check(match and crc(match[1]) == int(match[3], 16), "LOG")
        return bytes.fromhex(match[2].decode())

    def events(self):
        position = 1
        for name in self.sealed:
            for frame in self.sealed_frames(name, position):
                yield from records(frame)
                position = frame["first"] + frame["count"]
        for n, name in enumerate(self.unsealed):
            following = self.unsealed[n + 1] if n + 1 < len(self.unsealed) else None
            until = int(following[4:24]) if following else None
            for frame in self.unsealed_frames(name, position, until):
                yield from records(frame)
                position = frame["first"] + frame["count"]

    def sealed_frames(self, name, position):
        data = self.file(name)
        check(data[:8] == b"DAYBKSLD" and u32(data, 8) == 1, f"{name}: header")
        check(u32(data, 60) == crc(data[:60]) and data[16:32] == self.id, f"{name}: header")
        first, last = u64(data, 32), u64(data, 40)
        check(first == position == int(name[4:24]), f"{name}: first position")
        trailer = data[-32:]
        at, length = u64(trailer, 0), u32(trailer, 8)
        directory = data[at : at + length]
        check(at + length == len(data) - 32 and trailer[24:] == b"DAYBKEND", f"{name}: trailer")
        check(u32(trailer, 12) == crc(directory, trailer[:12], trailer[16:24]), f"{name}: directory")
        check(u64(trailer, 16) == last, f"{name}: last position")
        types, entries = names_in(directory, 0)
        kinds, entries = names_in(directory, entries)
        check((length - entries) % 40 == 0, f"{name}: directory")
        blocks = [struct.unpack_from("<QQIIQQ", directory, e) for e in range(entries, length, 40)]
        stored, offset = [], 64
        for place, first, whole, raw, _, _ in blocks:
            check(place == offset, f"{name}: blocks follow each other")
            block = data[offset : offset + whole]
            head = struct.unpack_from("<IIQIIII", block, 0)
            check(head[:4] == (whole, raw, first, 0) and head[6] == 0, f"{name}: block at byte {offset}")
            check(head[5] == crc(block[:24], block[28:]), f"{name}: checksum of the block at byte {offset}")
            stored.append((head[4], block[32:], raw))
            offset += whole
        check(offset == at, f"{name}: the directory follows the blocks")
        packed = [(body, raw) for how, body, raw in stored if how == 1]
        unpacked = iter(decompress([b for b, _ in packed], [r for _, r in packed]) if packed else [])
        for (_, first, _, _, type_bits, kind_bits), (how, body, _) in zip(blocks, stored):
            check(first == position, f"{name}: first position of a block")
            found_types, found_kinds = 0, 0
            for frame in frames_of(next(unpacked) if how == 1 else body, position, name):
                for record in records(frame):
                    kind = record["stream"].partition("-")
                    found_types |= bit_of(types, record["type"])
                    found_kinds |= bit_of(kinds, kind[0] + kind[1])
                position = frame["first"] + frame["count"]
                yield frame
            check((found_types, found_kinds) == (type_bits, kind_bits), f"{name}: what the directory says of a block")
        check(position == last + 1, f"{name}: last position")

    def unsealed_frames(self, name, position, until):
        data = self.file(name)
        check(data[:8] == b"DAYBKSEG" and u32(data, 8) == 1 and data[16:32] == self.id, f"{name}: header")
        check(u32(data, 48) == crc(data[:48]) and u64(data, 40) == len(data), f"{name}: header")
        check(u64(data, 32) == position == int(name[4:24]), f"{name}: first position")
        at = 4096
        while position != until:
            frame = frame_at(data, at)
            if frame is None or frame["first"] != position:
                break
            check(frame["durable"] < position, f"{name}: frame at byte {at}")
            yield frame
            position += frame["count"]
            at += len(frame["bytes"])
        check(until in (None, position), f"{name}: position {position} is missing")
        if until is None:
            # What follows was never acknowledged, or the log is damaged.
            for behind in range(at + 8, len(data) - 31, 8):
                if data[behind + 28 : behind + 32] == b"DBF1":
                    frame = frame_at(data, behind)
                    check(not frame or frame["durable"] < position, f"{name}: damage at byte {at}")

    # The stream index.

    def streams(self, names):
        """The events of streams, by the index and, where there is none, by the events themselves."""
        events = {event["position"]: event for event in self.events()}
        runs = [self.run(first, last) for first, last in self.runs]
        indexed = self.runs[-1][1] if self.runs else 0
        for name in names:
            positions = []
            for entries, bits in runs:
                found = [entry for entry in entries if entry[2] == name]
                check(not found or may_contain(bits, stream_hash(name)), f"filter and {name}")
                for _, revision, _, places in found:
                    check(revision == len(positions) + 1, f"index of {name}: revision {revision}")
                    positions += places
            positions += [p for p, event in events.items() if p > indexed and event["stream"] == name]
            yield from (events[position] for position in positions)

    def run(self, first, last):
        """All entries of a run, and its filter."""
        file = f"idx-{first:020}-{last:020}.run"
        data = self.file(file)
        check(data[:8] == b"DAYBKIDX" and u32(data, 8) == 1 and data[16:32] == self.id, f"{file}: header")
        check(u32(data, 60) == crc(data[:60]) and (u64(data, 32), u64(data, 40)) == (first, last), f"{file}: header")
        trailer = data[-48:]
        keys_at, filter_at = u64(trailer, 0), u64(trailer, 8)
        keys, bits = data[keys_at:filter_at], data[filter_at:-48]
        check(trailer[40:] == b"DAYBKIXE", f"{file}: trailer")
        check(u32(trailer, 32) == crc(keys, bits, trailer[:32], trailer[36:40]), f"{file}: keys and filter")
        blocks = [struct.unpack_from("<QQQ", keys, at) for at in range(0, len(keys), 24)]
        ends = [offset for _, _, offset in blocks[1:]] + [keys_at]
        all_entries = []
        for (key, revision, offset), end in zip(blocks, ends):
            block = data[offset:end]
            check(u32(block, 0) == len(block) and u32(block, 4) == crc(block[:4], block[8:]), f"{file}: byte {offset}")
            entries = list(entries_of(block, first))
            check(entries[0][:2] == (key, revision), f"{file}: key of the block at byte {offset}")
            for hash, _, stream, _ in entries:
                check(hash == stream_hash(stream) and may_contain(bits, hash), f"{file}: entry of {stream}")
            all_entries += entries
        order = [entry[:3] for entry in all_entries]
        check(order == sorted(order) and len(set(order)) == len(order), f"{file}: order of entries")
        return all_entries, bits


def bit_of(names, name):
    return 1 << (names.index(name) if name in names else 63)


def names_in(directory, at):
    names, count = [], directory[at]
    at += 1
    for _ in range(count):
        length = directory[at]
        names.append(directory[at + 1 : at + 1 + length].decode("ascii"))
        at += 1 + length
    check(count <= 63, "names in a dictionary")
    return names, at


def entries_of(block, first):
    at = 8
    while at < len(block):
        length, hash = struct.unpack_from("<HQ", block, at)
        end, here = at + length, at + 10
        revision, here = varint(block, here)
        count, here = varint(block, here)
        size = block[here]
        stream = block[here + 1 : here + 1 + size].decode("ascii")
        here += 1 + size
        positions, position = [], first
        for _ in range(count):
            step, here = varint(block, here)
            position += step
            positions.append(position)
        check(here == end and 1 <= count <= 128, f"index entry of {stream}")
        yield hash, revision, stream, positions
        at = end


def varint(data, at):
    value, shift = 0, 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at += 1
        shift += 7
        if byte < 0x80:
            return value, at


def stream_hash(name):
    h = 0xCBF29CE484222325
    for byte in name.encode("ascii"):
        h = ((h ^ byte) * 0x100000001B3) & MASK
    for factor in (0xFF51AFD7ED558CCD, 0xC4CEB9FE1A85EC53):
        h = ((h ^ (h >> 33)) * factor) & MASK
    return h ^ (h >> 33)


def may_contain(bits, hash):
    block = ((hash >> 32) * (len(bits) // 64)) >> 32
    words = struct.unpack_from("<8Q", bits, block * 64)
    mixed = (hash * 0x9E3779B97F4A7C15) & MASK
    places = [(mixed >> (9 * i + 10)) & 511 for i in range(6)]
    return all(words[place >> 6] >> (place & 63) & 1 for place in places)


# Exports.


def export_events(path):
    with open(path, "rb") as file:
        data = file.read()
    header = data[:80]
    check(header[:8] == b"DAYBKEXP" and u32(header, 8) == 1 and u32(header, 72) == crc(header[:72]), "export: header")
    position, at = u64(header, 32) + 1, 80
    link = hashlib.sha256(bytes(32) + header).digest()
    while True:
        length, stored, last = struct.unpack_from("<IIQ", data, at)
        body = data[at + 48 : at + 48 + stored]
        content = decompress([body], [length])[0] if length else b""
        link = hashlib.sha256(link + content).digest()
        check(data[at + 16 : at + 48] == link, f"export: link of the chunk at byte {at}")
        at += 48 + stored
        if not length:
            break
        for frame in frames_of(content, position, "export"):
            yield from records(frame)
            position = frame["first"] + frame["count"]
        check(position == last + 1, "export: last position of a chunk")
    check(at == len(data), "export: end")


def events(arguments):
    match arguments:
        case ["read", folder]:
            yield from Log(folder).events()
        case ["stream", folder, *names]:
            yield from Log(folder).streams(names)
        case ["export", path]:
            yield from export_events(path)
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    try:
        for event in events(sys.argv[1:]):
            print(json.dumps(event))
    except Damaged as error:
        sys.exit(f"damaged: {error}")
