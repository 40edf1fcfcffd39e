// A stand-in for the few members of UnityEngine that this package touches, for its tests only:
// it lets mcs compile Runtime/Unity and gives it a player loop.
using System;
using System.Collections.Generic;
using System.Reflection;

namespace UnityEngine
{
    public class Object { }

    public class Component : Object
    {
        public GameObject gameObject;
    }

    public class MonoBehaviour : Component { }

    [AttributeUsage(AttributeTargets.Class)]
    public sealed class DefaultExecutionOrder : Attribute
    {
        public DefaultExecutionOrder(int order) { Order = order; }

        public int Order { get; private set; }
    }

    public sealed class GameObject : Object
    {
        private readonly List<MonoBehaviour> parts = new List<MonoBehaviour>();

        public T AddComponent<T>() where T : MonoBehaviour, new()
        {
            var part = new T { gameObject = this };
            parts.Add(part);
            Player.Add(part);
            return part;
        }

        public T GetComponent<T>() where T : class
        {
            foreach (MonoBehaviour part in parts)
            {
                var found = part as T;
                if (found != null) return found;
            }
            return null;
        }
    }

    public struct Vector2 { public float x, y; }

    public struct Vector3 { public float x, y, z; }

    public struct Quaternion { public float x, y, z, w; }

    public struct Rect { public Rect(float x, float y, float width, float height) { } }

    public enum TextureFormat { RGB24 = 3 }

    public sealed class RenderTexture : Object
    {
        public static RenderTexture active;
        public readonly int Width, Height;

        public RenderTexture(int width, int height, int depth) { Width = width; Height = height; }

        public void Release() { }
    }

    /// <summary>Paints the row's number, counted from the lowest one, into red.</summary>
    public sealed class Camera : Object
    {
        public RenderTexture targetTexture;

        public void Render()
        {
            if (targetTexture == null) throw new InvalidOperationException("a camera without a texture");
        }
    }

    public sealed class Texture2D : Object
    {
        private readonly byte[] raw;
        private readonly int width;

        public Texture2D(int width, int height, TextureFormat format, bool mipChain)
        {
            this.width = width;
            raw = new byte[3 * width * height];
        }

        public void ReadPixels(Rect source, int x, int y)
        {
            if (RenderTexture.active == null) throw new InvalidOperationException("nothing was rendered");
            for (int i = 0; i < raw.Length; i += 3) raw[i] = (byte)(i / (3 * width));
        }

        public byte[] GetRawTextureData() { return raw; }
    }

    public static class Time
    {
        public static float fixedDeltaTime = 0.02f;
        public static float timeScale = 1;
    }

    public static class Physics
    {
        public static bool autoSimulation = true;
    }

    public static class Application
    {
        public static int targetFrameRate;
        internal static bool IsQuitting;

        public static void Quit() { IsQuitting = true; }
    }

    /// <summary>Start, then FixedUpdate for ever, in the order of execution; OnDestroy at the end.</summary>
    public static class Player
    {
        private static readonly List<MonoBehaviour> all = new List<MonoBehaviour>();

        internal static void Add(MonoBehaviour part) { all.Add(part); }

        public static void Run()
        {
            all.Sort((one, other) => OrderOf(one).CompareTo(OrderOf(other)));
            foreach (MonoBehaviour part in all) Call(part, "Start");
            while (!Application.IsQuitting)
            {
                foreach (MonoBehaviour part in all) Call(part, "FixedUpdate");
            }
            foreach (MonoBehaviour part in all) Call(part, "OnDestroy");
        }

        private static int OrderOf(MonoBehaviour part)
        {
            object[] orders = part.GetType().GetCustomAttributes(typeof(DefaultExecutionOrder), false);
            return orders.Length == 0 ? 0 : ((DefaultExecutionOrder)orders[0]).Order;
        }

        private static void Call(MonoBehaviour part, string name)
        {
            MethodInfo method = part.GetType().GetMethod(name, BindingFlags.Instance | BindingFlags.NonPublic);
            if (method == null) return;
            try
            {
                method.Invoke(part, null);
            }
            catch (TargetInvocationException error)
            {
                throw new InvalidOperationException(part.GetType().Name + "." + name + " threw", error.InnerException);
            }
        }
    }
}
