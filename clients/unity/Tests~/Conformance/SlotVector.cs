using System;
using System.Collections.Generic;
using System.IO;

namespace RLay.Conformance
{
    /// <summary>An image of a channel's files: what it says, and the parts that this client writes.</summary>
    internal static unsafe class SlotVector
    {
        public static void Check(Map vector)
        {
            var says = (Map)vector["says"];
            var files = (Map)vector["files"];
            byte[] header = Image((Map)files["header"]);
            fixed (byte* page = header)
            {
                Paradigm paradigm = HeaderPage.Read(page, "header");
                Equal("paradigm", paradigm == Paradigm.ClientEnv ? "CLIENT_ENV" : "SERVER_ENV", says["paradigm"]);
                Equal("generation", (long)*(uint*)(page + HeaderPage.GenerationOffset), says["generation"]);
                Equal("sessions", (long)*(uint*)(page + HeaderPage.SessionsOffset), says["sessions"]);
                Equal("incarnation", (*(ulong*)(page + HeaderPage.IncarnationOffset)).ToString("x16"), says["incarnation"]);
                Equal("session", (*(ulong*)(page + HeaderPage.SessionOffset)).ToString("x16"), says["session"]);
                CheckLine(new EndLine(page, End.Server), (Map)says["server"]);
                CheckLine(new EndLine(page, End.Client), (Map)says["client"]);
                var slots = (Map)says["slots"];
                CheckSlot(HeaderPage.RequestGreeting(page), (Map)slots["greeting, client to server"]);
                CheckSlot(HeaderPage.ReplyGreeting(page), (Map)slots["greeting, server to client"]);
                foreach (KeyValuePair<string, object> file in files)
                {
                    if (file.Key != "header") CheckSlots(file.Key, Image((Map)file.Value), says, slots);
                }
                CheckWritten(header, paradigm, (long)says["num_envs"]);
            }
        }

        private static void CheckSlots(string name, byte[] image, Map says, Map slots)
        {
            uint generation = uint.Parse(name.Substring("slots.".Length));
            fixed (byte* file = image)
            {
                SlotGeometry geometry = SlotGeometry.Read(file, image.Length, generation, "channel");
                Equal("request_capacity", geometry.RequestCapacity, says["request_capacity"]);
                Equal("reply_capacity", geometry.ReplyCapacity, says["reply_capacity"]);
                CheckSlot(geometry.Request(file), (Map)slots["request"]);
                CheckSlot(geometry.Reply(file), (Map)slots["reply"]);
                var written = new byte[40];
                fixed (byte* head = written) geometry.Write(head, generation);
                Vectors.Same("head of slots", written, Part(image, 40));
            }
        }

        private static void CheckWritten(byte[] header, Paradigm paradigm, long numEnvs)
        {
            var written = new byte[Protocol.HeaderBytes];
            fixed (byte* page = written) HeaderPage.Write(page, paradigm, (uint)numEnvs);
            // The generation stands between; it is written with each session.
            Vectors.Same("header", Part(written, 28), Part(header, 28));
        }

        private static void CheckLine(EndLine line, Map says)
        {
            Equal("state", Screaming(line.State.ToString()), says["state"]);
            Equal("reason", Screaming(line.Reason.ToString()), says["reason"]);
            Equal("holder", Screaming(line.Holder.ToString()), says["holder"]);
            Equal("bell", Screaming(line.Bell.ToString()), says["bell"]);
            Equal("capabilities", (long)line.Capabilities, says["capabilities"]);
            Equal("who", line.Who, "process " + says["pid"] + " (" + says["program"] + ")");
        }

        private static void CheckSlot(Slot slot, Map says)
        {
            Equal("published", (long)(uint)*slot.Published, says["published"]);
            Equal("taken", (long)(uint)*slot.Taken, says["taken"]);
            Equal("taken_bell", (long)(uint)*slot.TakenBell, says["taken_bell"]);
            Equal("published_bell", (long)(uint)*slot.PublishedBell, says["published_bell"]);
        }

        private static byte[] Image(Map file)
        {
            var bytes = new byte[(long)file["size"]];
            foreach (object line in (List<object>)file["lines"])
            {
                var pair = (List<object>)line;
                ((byte[])pair[1]).CopyTo(bytes, (long)pair[0]);
            }
            return bytes;
        }

        private static byte[] Part(byte[] bytes, int count)
        {
            var part = new byte[count];
            Array.Copy(bytes, part, count);
            return part;
        }

        private static string Screaming(string name)
        {
            var text = new System.Text.StringBuilder();
            for (int i = 0; i < name.Length; i++)
            {
                if (i > 0 && char.IsUpper(name[i])) text.Append('_');
                text.Append(char.ToUpperInvariant(name[i]));
            }
            return text.ToString();
        }

        private static void Equal(string what, object ours, object theirs)
        {
            if (!ours.Equals(theirs)) throw new InvalidDataException(what + " is " + ours + ", expected " + theirs);
        }
    }
}
