"""Properties files: read as java.util.Properties.load reads them; compared with Java if it is installed."""
import json
import random
import shutil
import subprocess
from io import StringIO

import pytest
from command_line import BOUND, mock_cluster, run

from kafkapp.config.java_properties import Malformed, load

TABLE = {
    "a=1": {"a": "1"}, "a:1": {"a": "1"}, "a 1": {"a": "1"}, "a\t1": {"a": "1"}, "a\f1": {"a": "1"}, "a = 1": {"a": "1"},
    "a : 1": {"a": "1"}, "a  =  1": {"a": "1"}, "a==1": {"a": "=1"}, "a:=1": {"a": "=1"}, "a = = 1": {"a": "= 1"}, "a b=1": {"a": "b=1"},
    "  a=1": {"a": "1"}, "\f\ta=1": {"a": "1"}, "a=": {"a": ""}, "a:": {"a": ""}, "a ": {"a": ""},
    "# a=1": {}, "! a=1": {}, "   # a=1": {}, "#": {}, "": {}, "   ": {}, "a=1#2": {"a": "1#2"}, "a=1\n#b=2\\\nc=3": {"a": "1", "c": "3"},
    "a\\:b=1": {"a:b": "1"}, "a\\=b=1": {"a=b": "1"}, "a\\ b=1": {"a b": "1"}, "\\#a=1": {"#a": "1"}, "\\:=1": {":": "1"},
    "a=b\\:1": {"a": "b:1"}, "a=b\\=1": {"a": "b=1"}, "a=C:\\\\tmp": {"a": "C:\\tmp"}, "a=C:\\tmp": {"a": "C:\tmp"}, "a=\\q\\\\": {"a": "q\\"},
    "a=x\\ny\\r\\f.": {"a": "x\ny\r\f."}, "a=caf\\u00E9": {"a": "caf\u00e9"}, "a=caf\\u00e9": {"a": "caf\u00e9"}, "\\u0061=1": {"a": "1"},
    "a=\\uD83D\\uDE00": {"a": "\U0001f600"}, "a=\\\\u00e9": {"a": "\\u00e9"}, "a=\\U00e9": {"a": "U00e9"}, "a=\\u00e9f": {"a": "\u00e9f"},
    "a\\u003Db=1": {"a=b": "1"}, "a=1\nb=2": {"a": "1", "b": "2"}, "a=1\r\nb=2\r\n": {"a": "1", "b": "2"}, "a=1\rb=2": {"a": "1", "b": "2"},
    "a=1\na=2": {"a": "2"}, "a=1,\\\n   2": {"a": "1,2"}, "a=1,\\\r\n\t2": {"a": "1,2"}, "a=1,\\\r  2": {"a": "1,2"}, "a=1\\\\\nb=2": {"a": "1\\", "b": "2"},
    "a=1\\\\\\\n2": {"a": "1\\2"}, "a=1\\\n\nb=2": {"a": "1", "b": "2"}, "a=1\\\n#2": {"a": "1#2"}, "a\\\n=1": {"a": "1"}, "a\\\n  b=1": {"ab": "1"},
    "a=1\\": {"a": "1"}, "\\\na=1": {"a": "1"}, "\\\n# a=1": {}, "a=1\n\\": {"a": "1"}, "a=1 \\\n  2": {"a": "1 2"}, "a=\\\n\\\n1": {"a": "1"},
    "a=\u00e9": {"a": "\u00e9"}, "a=1\x0b2": {"a": "1\x0b2"}, "a=1\x852": {"a": "1\x852"}, "a=1\u20282": {"a": "1\u20282"}, "a=\ufeff": {"a": "\ufeff"},
    "a=-----BEGIN-----\\n\\\nMIIE=\\n\\\n-----END-----\\n\\\n": {"a": "-----BEGIN-----\nMIIE=\n-----END-----"},
}

WRONG = {"secret\\u12": "1", "a=secret\\u12": "1", "a=secret\\uXYZW": "1", "a=1\n\nb=secret\\u": "3", "a=1\\\n2\nb=\\uD83Dsecret": "3",
         "a=\\uDE00\\uD83D": "1", "secret": "1", "=secret": "1", " : secret": "1", "a=1\nsecret\\\n": "2", "a=1\n# c\n\nsecret": "4"}


def read(text):
    return dict(load(StringIO(text, newline=None)))


@pytest.mark.parametrize("text", TABLE, ids=repr)
def test_read_as_java_does(text):
    assert read(text) == TABLE[text]


@pytest.mark.parametrize("text", WRONG, ids=repr)
def test_what_is_malformed_is_called_by_its_line(text):
    with pytest.raises(Malformed, match=f"^{WRONG[text]}: ") as caught:
        read(text)
    assert "secret" not in str(caught.value)


JAVA = r"""
import java.io.*;
import java.nio.charset.StandardCharsets;
import java.util.*;

class Read {
    static String quoted(String text) {
        StringBuilder out = new StringBuilder("\"");
        for (char c : text.toCharArray())
            out.append(String.format("\\u%04x", (int) c));
        return out.append('"').toString();
    }

    public static void main(String[] paths) throws IOException {
        for (String path : paths) {
            Properties read = new Properties();
            StringBuilder out = new StringBuilder();
            try (Reader file = new InputStreamReader(new FileInputStream(path), StandardCharsets.UTF_8)) {
                read.load(file);
                for (String name : read.stringPropertyNames())
                    out.append(out.length() == 0 ? "" : ", ").append(quoted(name)).append(": ").append(quoted(read.getProperty(name).trim()));
                System.out.println("{" + out + "}");
            } catch (IllegalArgumentException wrong) {
                System.out.println("null");
            }
        }
    }
}
"""


def of_java(texts, folder):
    """What Java reads, with its values trimmed as Kafka's ConfigDef does; None where it raises."""
    (folder / "Read.java").write_text(JAVA)
    paths = []
    for number, text in enumerate(texts):
        paths.append(folder / f"{number}.properties")
        paths[-1].write_bytes(text.encode())
    done = subprocess.run(["java", "-XX:TieredStopAtLevel=1", folder / "Read.java", *paths], capture_output=True, text=True, timeout=100, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_java_itself(tmp_path):
    if not shutil.which("java") or "jdk.compiler" not in subprocess.run(["java", "--list-modules"], capture_output=True, text=True, timeout=BOUND,
                                                                        check=False).stdout:
        pytest.skip("no Java with a compiler")
    dice = random.Random(27)
    pieces = ["a", "b", " ", "\t", "\f", "=", ":", "\\", "\\\n", "\\\\", "\n", "\r", "\r\n", "#", "!", "\\u0041", "\\u00e9", "\\n", "1", "\u00e9"]
    texts = [*TABLE, *("".join(dice.choices(pieces, k=dice.randint(1, 12))) for _ in range(2000))]
    seen = agreed = 0
    for text, expected in zip(texts, of_java(texts, tmp_path), strict=True):
        try:
            ours = read(text)
        except Malformed as refused:
            # Beyond what Java refuses: a name and nothing else, or no name.
            assert expected is None or "expected key=value" in str(refused), text
            continue
        seen += 1
        if expected and expected.get("") == "":
            del expected[""]        # a backslash at the end of the file
        agreed += ours == expected
        assert ours == expected, text
    assert seen == agreed > 500


def test_the_command_reads_such_a_file(tmp_path):
    lines, settings = tmp_path / "lines.txt", tmp_path / "client.properties"
    lines.write_bytes(b"one\ntwo\n")
    with mock_cluster() as servers:
        host, port = servers.split(":")
        for text in (f"#Tue Jan 02\nbootstrap.servers={host}\\:{port}\nclient.id=caf\\u00E9\n", f"bootstrap.servers 127.0.0.1:1,\\\n  {host}:{port}\r\n",
                     f"\ufeffbootstrap.servers : {host}:{port}\n"):
            settings.write_bytes(text.encode())
            done = run("produce", "-F", settings, "-t", "t", lines)
            assert (done.returncode, done.stderr) == (0, ""), done
