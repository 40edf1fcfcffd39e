using System;

namespace RLay
{
    /// <summary>Copies between arrays of C# and memory that no collector knows.</summary>
    internal static unsafe class Memory
    {
        public static void Copy(byte* source, byte* target, long bytes)
        {
            Buffer.MemoryCopy(source, target, bytes, bytes);
        }

        public static void Clear(byte* target, long bytes)
        {
            for (long i = 0; i < bytes; i++) target[i] = 0;
        }

        /// <summary>Copies all elements of an array of primitives.</summary>
        public static void Store(Array source, byte* target)
        {
            int bytes = Buffer.ByteLength(source);
            if (bytes == 0) return;
            switch (Type.GetTypeCode(source.GetType().GetElementType()))
            {
                case TypeCode.Single:
                    fixed (float* p = (float[])source) Copy((byte*)p, target, bytes);
                    break;
                case TypeCode.Byte:
                    fixed (byte* p = (byte[])source) Copy(p, target, bytes);
                    break;
                case TypeCode.Double:
                    fixed (double* p = (double[])source) Copy((byte*)p, target, bytes);
                    break;
                case TypeCode.SByte:
                    fixed (sbyte* p = (sbyte[])source) Copy((byte*)p, target, bytes);
                    break;
                case TypeCode.Int16:
                    fixed (short* p = (short[])source) Copy((byte*)p, target, bytes);
                    break;
                case TypeCode.UInt16:
                    fixed (ushort* p = (ushort[])source) Copy((byte*)p, target, bytes);
                    break;
                case TypeCode.Int32:
                    fixed (int* p = (int[])source) Copy((byte*)p, target, bytes);
                    break;
                case TypeCode.UInt32:
                    fixed (uint* p = (uint[])source) Copy((byte*)p, target, bytes);
                    break;
                case TypeCode.Int64:
                    fixed (long* p = (long[])source) Copy((byte*)p, target, bytes);
                    break;
                case TypeCode.UInt64:
                    fixed (ulong* p = (ulong[])source) Copy((byte*)p, target, bytes);
                    break;
                case TypeCode.Boolean:
                    // A bool of C# may be any byte that is not 0; on the wire it is 0 or 1.
                    var flags = (bool[])source;
                    for (int i = 0; i < flags.Length; i++) target[i] = flags[i] ? (byte)1 : (byte)0;
                    break;
                default:
                    throw new ArgumentException("no array of numbers: " + source.GetType());
            }
        }

        /// <summary>Fills an array of primitives; false where a bool is neither 0 nor 1.</summary>
        public static bool Load(byte* source, Array target)
        {
            int bytes = Buffer.ByteLength(target);
            if (bytes == 0) return true;
            switch (Type.GetTypeCode(target.GetType().GetElementType()))
            {
                case TypeCode.Single:
                    fixed (float* p = (float[])target) Copy(source, (byte*)p, bytes);
                    return true;
                case TypeCode.Byte:
                    fixed (byte* p = (byte[])target) Copy(source, p, bytes);
                    return true;
                case TypeCode.Double:
                    fixed (double* p = (double[])target) Copy(source, (byte*)p, bytes);
                    return true;
                case TypeCode.SByte:
                    fixed (sbyte* p = (sbyte[])target) Copy(source, (byte*)p, bytes);
                    return true;
                case TypeCode.Int16:
                    fixed (short* p = (short[])target) Copy(source, (byte*)p, bytes);
                    return true;
                case TypeCode.UInt16:
                    fixed (ushort* p = (ushort[])target) Copy(source, (byte*)p, bytes);
                    return true;
                case TypeCode.Int32:
                    fixed (int* p = (int[])target) Copy(source, (byte*)p, bytes);
                    return true;
                case TypeCode.UInt32:
                    fixed (uint* p = (uint[])target) Copy(source, (byte*)p, bytes);
                    return true;
                case TypeCode.Int64:
                    fixed (long* p = (long[])target) Copy(source, (byte*)p, bytes);
                    return true;
                case TypeCode.UInt64:
                    fixed (ulong* p = (ulong[])target) Copy(source, (byte*)p, bytes);
                    return true;
                default:
                    var flags = (bool[])target;
                    for (int i = 0; i < flags.Length; i++)
                    {
                        if (source[i] > 1) return false;
                        flags[i] = source[i] == 1;
                    }
                    return true;
            }
        }
    }
}
