using System.Collections.Generic;

namespace RLay
{
    /// <summary>Info records: a few numbers, compiled; docs/spec/messages.md.</summary>
    internal sealed unsafe class RecordWriter
    {
        private const int MaxKeys = 256;

        private readonly List<string> keys = new List<string>();
        private readonly List<uint> codes = new List<uint>();
        private readonly List<ulong> bits = new List<ulong>();
        private readonly ByteBuffer schema = new ByteBuffer();

        /// <summary>Writes an info of numbers whose keys and types are those of the info before.</summary>
        public bool Pack(Map info, ByteBuffer target)
        {
            bool known = info.Count == keys.Count && info.Count > 0;
            bits.Clear();
            for (int i = 0; i < info.Count; i++)
            {
                KeyValuePair<string, object> item = info.At(i);
                ulong number;
                uint code = Numbers.Pack(item.Value, out number);
                if (code == 0 || info.Count > MaxKeys)
                {
                    Forget();
                    return false;
                }
                known = known && keys[i] == item.Key && codes[i] == code;
                bits.Add(number);
            }
            if (!known)
            {
                Remember(info);
                return false;
            }
            target.Clear();
            target.PutLittleEndian((ulong)schema.Length, 4);
            target.PutLittleEndian((ulong)(8 * bits.Count), 4);
            target.Put(schema);
            while (target.Length % 8 != 0) target.Put(0);
            foreach (ulong number in bits) target.PutLittleEndian(number, 8);
            return true;
        }

        private void Forget()
        {
            keys.Clear();
            codes.Clear();
        }

        private void Remember(Map info)
        {
            Forget();
            var items = new List<object>();
            foreach (KeyValuePair<string, object> item in info)
            {
                ulong number;
                uint code = Numbers.Pack(item.Value, out number);
                keys.Add(item.Key);
                codes.Add(code);
                items.Add(item.Key);
                items.Add((long)code);
            }
            schema.Clear();
            new ValueEncoder(schema).Encode(items);
        }

        /// <summary>The info of a record; what stands behind the fixed area is all of it.</summary>
        public static Map Unpack(byte* start, long size)
        {
            if (size < 8) throw Malformed();
            long schemaBytes = *(uint*)start;
            long valuesBytes = *(uint*)(start + 4);
            long values = 8 + Protocol.Align(schemaBytes, 8);
            if (values + valuesBytes != size) throw Malformed();
            var items = new ValueDecoder(start + 8, schemaBytes).Whole() as List<object>;
            if (items == null || items.Count % 2 != 0 || items.Count / 2 > MaxKeys || 4 * items.Count != valuesBytes) throw Malformed();
            var info = new Map();
            for (int i = 0; i < items.Count; i += 2)
            {
                var key = items[i] as string;
                object value;
                if (key == null || !(items[i + 1] is long) || info.ContainsKey(key)) throw Malformed();
                long code = (long)items[i + 1];
                if (code < 1 || code > Numbers.Bool || !Numbers.Unpack((uint)code, Numbers.Load(start + values + 4 * i), out value))
                {
                    throw Malformed();
                }
                info.Add(key, value);
            }
            return info;
        }

        private static ProtocolException Malformed()
        {
            return new ProtocolException("an info record is malformed");
        }
    }
}
