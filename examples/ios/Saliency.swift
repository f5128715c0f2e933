import CoreGraphics
import Foundation
import LiteRT
import VideoToolbox

enum SaliencyError: Error {
  /// None of the accelerators runs the model at this path with this input size; the last error.
  case noAccelerator(path: String, height: Int, width: Int, reason: Error?)
  /// Not enough memory for an image, or an unknown format of the camera's picture.
  case noImage
}

/// Predicts where people look in an image, with a keras-salnet model.
///
/// Not thread-safe. `height` and `width` are the model's input size, by default that of `fast`.
final class Saliency {
  let height: Int
  let width: Int

  /// The accelerator in use: the first of those requested that works on this device.
  var accelerator: Accelerator { runner.accelerator }

  private var runner: Runner

  /// - Parameter path: `Bundle.main.path(forResource: "fast", ofType: "tflite")`.
  init(
    path: String, height: Int = 256, width: Int = 320, accelerators: [Accelerator] = [.gpu, .cpu]
  ) throws {
    self.height = height
    self.width = width
    var failure: Error?
    // Try one after the other: given [.gpu, .cpu], LiteRT does not tell which one it chose.
    for accelerator in accelerators {
      do {
        let candidate = try Runner(path, accelerator)
        _ = try candidate.run([Float](repeating: 0, count: height * width * 3))  // some fail here
        runner = candidate
        return
      } catch {
        failure = error
      }
    }
    throw SaliencyError.noAccelerator(path: path, height: height, width: width, reason: failure)
  }

  /// The map of an image: `height` rows of `width` values in 0…1, with maximum 1.
  func predict(_ image: CGImage) throws -> [Float] {
    let map = try runner.run(frame(image))
    let peak = map.max() ?? 0
    return peak > 0 ? map.map { $0 / peak } : map
  }

  /// The map in colour, transparent where nobody looks: show it stretched over the image.
  ///
  /// The opacity keeps weaker regions visible.
  func heatMap(_ image: CGImage, opacity: Float = 0.6) throws -> CGImage {
    var bytes = [UInt8]()
    for value in try predict(image) {
      let cover = opacity * value * (2 - value)
      for channel in color(value) { bytes.append(UInt8((channel * cover).rounded())) }
      bytes.append(UInt8((255 * cover).rounded()))
    }
    guard
      let provider = CGDataProvider(data: Data(bytes) as CFData),
      let picture = CGImage(
        width: width, height: height, bitsPerComponent: 8, bitsPerPixel: 32,
        bytesPerRow: 4 * width, space: CGColorSpace(name: CGColorSpace.sRGB)!,
        bitmapInfo: CGBitmapInfo(rawValue: CGImageAlphaInfo.premultipliedLast.rawValue),
        provider: provider, decode: nil, shouldInterpolate: true, intent: .defaultIntent)
    else { throw SaliencyError.noImage }
    return picture
  }

  /// An image as model input: stretched to the input size; rows of RGB, 0…255.
  func frame(_ image: CGImage) throws -> [Float] {
    guard
      let context = CGContext(  // 4 bytes per pixel, red first, top row first
        data: nil, width: image.width, height: image.height, bitsPerComponent: 8, bytesPerRow: 0,
        space: CGColorSpace(name: CGColorSpace.sRGB)!,
        bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue),
      let memory = context.data
    else { throw SaliencyError.noImage }
    let whole = CGRect(x: 0, y: 0, width: image.width, height: image.height)
    context.setFillColor(red: 1, green: 1, blue: 1, alpha: 1)  // behind transparent pixels
    context.fill(whole)
    context.draw(image, in: whole)

    let rows = Taps(from: image.height, to: height)
    let columns = Taps(from: image.width, to: width)
    var lines = [Int: [Float]]()  // rows of the image at the input width
    var result = [Float](repeating: 0, count: height * width * 3)
    for row in 0..<height {
      lines = lines.filter { $0.key >= rows.first[row] }  // earlier rows are not needed again
      for (tap, weight) in rows.weights[row].enumerated() {
        let y = rows.first[row] + tap
        let bytes = memory.advanced(by: y * context.bytesPerRow)
          .assumingMemoryBound(to: UInt8.self)
        let line = lines[y] ?? columns.apply(bytes)
        lines[y] = line
        for index in 0..<line.count { result[row * line.count + index] += weight * line[index] }
      }
    }
    return withExtendedLifetime(context) { result }  // the context owns the bytes
  }
}

/// A model on one accelerator, with its input and output buffers.
private final class Runner {
  let accelerator: Accelerator
  private let model: CompiledModel
  private let inputs: [TensorBuffer]
  private let outputs: [TensorBuffer]

  init(_ path: String, _ accelerator: Accelerator) throws {
    let options = try Options()
    try options.setHardwareAccelerators([accelerator])
    self.accelerator = accelerator
    model = try CompiledModel(filePath: path, environment: Environment(), options: options)
    inputs = try model.createInputBuffers()
    outputs = try model.createOutputBuffers()
  }

  func run(_ pixels: [Float]) throws -> [Float] {
    try inputs[0].write(pixels)
    try model.run(inputs: inputs, outputs: outputs)
    return try outputs[0].read()
  }
}

/// For each of `target` pixels, the weights of the `source` pixels from `first` on; they sum to 1.
///
/// Area averaging to shrink, bilinear interpolation to enlarge, as in keras-salnet.
private struct Taps {
  private(set) var first = [Int]()
  private(set) var weights = [[Float]]()

  init(from source: Int, to target: Int) {
    let scale = Double(source) / Double(target)
    for index in 0..<target {
      if target <= source {
        let begin = Double(index) * scale
        let end = min(Double(index + 1) * scale, Double(source))
        first.append(Int(begin))
        weights.append(
          (Int(begin)..<Int(end.rounded(.up))).map { pixel in
            Float((min(end, Double(pixel + 1)) - max(begin, Double(pixel))) / scale)
          })
      } else {
        // Pixel centres are at halves; beyond the outermost, the border pixel is repeated.
        let place = min(max((Double(index) + 0.5) * scale - 0.5, 0), Double(source - 1))
        let part = Float(place - place.rounded(.down))
        first.append(Int(place))
        weights.append(part == 0 ? [1] : [1 - part, part])
      }
    }
  }

  /// One row of 4 bytes per pixel → R, G, B, R, G, B… at the target width.
  func apply(_ bytes: UnsafePointer<UInt8>) -> [Float] {
    var line = [Float](repeating: 0, count: 3 * first.count)
    for column in 0..<first.count {
      for (tap, weight) in weights[column].enumerated() {
        let pixel = bytes + 4 * (first[column] + tap)
        for channel in 0..<3 { line[3 * column + channel] += weight * Float(pixel[channel]) }
      }
    }
    return line
  }
}

// The colour map "inferno" at equal steps.
private let inferno: [[Float]] = [
  [0, 0, 4], [33, 12, 74], [87, 16, 110], [138, 34, 106], [188, 55, 84],
  [227, 89, 51], [249, 140, 10], [249, 201, 50], [252, 255, 164],
]

private func color(_ value: Float) -> [Float] {
  let place = value * Float(inferno.count - 1)
  let step = min(Int(place), inferno.count - 2)
  let part = place - Float(step)
  return zip(inferno[step], inferno[step + 1]).map { $0 + part * ($1 - $0) }
}

/// A camera picture as input for `Saliency`.
func picture(of buffer: CVPixelBuffer) throws -> CGImage {
  var image: CGImage?
  VTCreateCGImageFromCVPixelBuffer(buffer, options: nil, imageOut: &image)
  guard let image else { throw SaliencyError.noImage }
  return image
}

#if canImport(UIKit)
  import UIKit

  /// The pixels of a photograph, with its orientation applied.
  func picture(of photo: UIImage) throws -> CGImage {
    let format = UIGraphicsImageRendererFormat()
    format.scale = photo.scale
    let upright = UIGraphicsImageRenderer(size: photo.size, format: format).image { _ in
      photo.draw(at: .zero)
    }
    guard let image = upright.cgImage else { throw SaliencyError.noImage }
    return image
  }
#endif
